-- One row for each join: a leave closes that player's oldest open join. `left_at` is null while it is open.
-- Times are those of the game's clock where the requests said it.
WITH numbered AS (
  SELECT guild_name, host, event_type, guild_seq, is_open,
    coalesce(try(from_iso8601_timestamp(game_time)), from_iso8601_timestamp(event_time)) AS at,
    try(from_iso8601_timestamp(game_time)) IS NOT NULL AS by_game_clock,
    row_number() OVER (PARTITION BY guild_name, host, event_type, is_open ORDER BY guild_seq) AS n
  FROM (
    -- A leave that lowers the lowest balance so far finds no open join: see unmatched_leaves.
    SELECT *, event_type = 'join_guild' OR lowest = coalesce(before, 0) AS is_open
    FROM (
      SELECT *, lag(lowest) OVER (PARTITION BY guild_name, host ORDER BY guild_seq) AS before
      FROM (
        SELECT *, least(0, min(balance) OVER (PARTITION BY guild_name, host ORDER BY guild_seq)) AS lowest
        FROM (
          SELECT guild_name, host, event_type, event_time, game_time, guild_seq,
            sum(if(event_type = 'join_guild', 1, -1)) OVER (PARTITION BY guild_name, host ORDER BY guild_seq) AS balance
          FROM guilds
        )
      )
    )
  )
)
SELECT joined.guild_name, joined.host, joined.at AS joined_at, gone.at AS left_at, joined.guild_seq AS joined_seq,
  gone.guild_seq AS left_seq, joined.by_game_clock
FROM numbered AS joined
LEFT JOIN numbered AS gone
  ON gone.event_type = 'leave_guild' AND gone.is_open AND joined.host = gone.host
  AND joined.guild_name = gone.guild_name AND joined.n = gone.n
WHERE joined.event_type = 'join_guild'
