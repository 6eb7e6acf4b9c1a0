-- Do the same players buy more on days in a guild? The same item in the same second counts once.
WITH days AS (
  SELECT host, date(played_at) AS day,
    count(DISTINCT if(item IS NULL, NULL, item || CAST(played_at AS varchar))) AS purchases,
    sum(CASE event_type WHEN 'join_guild' THEN 1 WHEN 'leave_guild' THEN -1 ELSE 0 END) AS change
  FROM actions
  WHERE by_game_clock = (SELECT bool_or(by_game_clock) FROM actions)
  GROUP BY host, date(played_at)
),
told AS (SELECT *, sum(change) OVER (PARTITION BY host ORDER BY day) > 0 AS member FROM days)
SELECT host, count_if(member) AS days_in, sum(if(member, purchases, 0)) AS bought_in,
  count_if(NOT member) AS days_out, sum(if(member, 0, purchases)) AS bought_out
FROM told
GROUP BY host
ORDER BY host
