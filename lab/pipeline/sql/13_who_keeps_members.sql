-- Which guilds keep their members?
SELECT guild_name,
  count_if(event_type = 'join_guild') AS joins,
  count_if(event_type = 'leave_guild') AS leaves,
  round(100.0 - 100.0 * count_if(event_type = 'leave_guild') / nullif(count_if(event_type = 'join_guild'), 0), 1)
    AS percent_kept
FROM guilds
GROUP BY guild_name
ORDER BY percent_kept DESC, guild_name
