-- What happened day by day?
SELECT CAST(date(played_at) AS varchar) AS day, count(DISTINCT host) AS players,
  count(item) AS purchases, coalesce(sum(cost), 0) AS spent,
  count_if(event_type = 'join_guild') AS joins, count_if(event_type = 'leave_guild') AS leaves
FROM actions
GROUP BY date(played_at)
ORDER BY day
