-- Which purchases look wrong? The same item more than once in the same second, or a day that cost 10 times the usual.
WITH moments AS (
  SELECT host, item, cost, played_at, count(*) AS times
  FROM actions
  WHERE item IS NOT NULL AND by_game_clock
  GROUP BY host, item, cost, played_at
),
days AS (
  SELECT host, date(played_at) AS day, sum(cost) AS spent
  FROM actions
  WHERE item IS NOT NULL AND by_game_clock
  GROUP BY host, date(played_at)
)
SELECT host, date_format(played_at, '%Y-%m-%d %H:%i') AS at,
  'the same ' || item || ', ' || CAST(times AS varchar) || ' times in a second' AS why, times * cost AS coins
FROM moments
WHERE times > 1
UNION ALL
SELECT host, date_format(day, '%Y-%m-%d'),
  'spent 10 times what half of the buyers spend in a day', spent
FROM days
WHERE spent >= 10 * (SELECT approx_percentile(spent, 0.5) FROM days)
ORDER BY coins DESC, host, at, why
LIMIT 20
