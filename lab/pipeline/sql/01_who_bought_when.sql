-- Who bought, when, and how often?
SELECT host, count(*) AS purchases,
  date_format(min(played_at), '%Y-%m-%d %H:%i') AS first_purchase,
  date_format(max(played_at), '%Y-%m-%d %H:%i') AS last_purchase
FROM actions
WHERE item IS NOT NULL
GROUP BY host
ORDER BY purchases DESC, host
LIMIT 10
