-- How long does a membership last? The oldest open join ends with the next leave.
WITH numbered AS (
  SELECT host, guild_name, event_type, from_iso8601_timestamp(event_time) AS at,
    row_number() OVER (PARTITION BY host, guild_name, event_type ORDER BY guild_seq) AS n
  FROM guilds
)
SELECT joined.guild_name, count(*) AS memberships, count(left_again.at) AS ended,
  round(avg(date_diff('millisecond', joined.at, left_again.at)) / 1000.0, 1) AS mean_seconds
FROM numbered AS joined
LEFT JOIN numbered AS left_again
  ON left_again.event_type = 'leave_guild' AND joined.host = left_again.host
  AND joined.guild_name = left_again.guild_name AND joined.n = left_again.n
WHERE joined.event_type = 'join_guild'
GROUP BY joined.guild_name
ORDER BY memberships DESC, joined.guild_name
