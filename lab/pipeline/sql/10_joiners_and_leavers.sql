-- Who joins and who leaves the most guilds?
SELECT host,
  count_if(event_type = 'join_guild') AS joins,
  count_if(event_type = 'leave_guild') AS leaves
FROM guilds
GROUP BY host
ORDER BY joins DESC, leaves DESC, host
LIMIT 10
