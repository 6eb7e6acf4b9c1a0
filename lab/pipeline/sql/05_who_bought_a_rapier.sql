-- Who bought a given item, say a rapier?
SELECT host, count(*) AS rapiers
FROM sword_purchases
WHERE type = 'rapier'
GROUP BY host
ORDER BY rapiers DESC, host
LIMIT 10
