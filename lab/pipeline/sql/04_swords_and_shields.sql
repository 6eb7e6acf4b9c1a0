-- Swords or shields?
SELECT event_type, count(*) AS purchases, sum(cost) AS earned
FROM purchases
GROUP BY event_type
ORDER BY event_type
