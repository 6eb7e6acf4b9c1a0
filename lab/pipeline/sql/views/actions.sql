-- What players did, whatever it was. `played_at` is the game's clock where the request said it, else the API's.
SELECT host, event_type, type AS item, cost, CAST(NULL AS varchar) AS guild_name,
  coalesce(try(from_iso8601_timestamp(game_time)), from_iso8601_timestamp(event_time)) AS played_at,
  try(from_iso8601_timestamp(game_time)) IS NOT NULL AS by_game_clock
FROM purchases
UNION ALL
SELECT host, event_type, NULL, NULL, guild_name,
  coalesce(try(from_iso8601_timestamp(game_time)), from_iso8601_timestamp(event_time)),
  try(from_iso8601_timestamp(game_time)) IS NOT NULL
FROM guilds
UNION ALL
SELECT host, event_type, NULL, NULL, NULL,
  coalesce(try(from_iso8601_timestamp(game_time)), from_iso8601_timestamp(event_time)),
  try(from_iso8601_timestamp(game_time)) IS NOT NULL
FROM defaults
