-- Which item is bought most?
SELECT type, count(*) AS purchases, sum(cost) AS earned
FROM purchases
GROUP BY type
ORDER BY purchases DESC, type
LIMIT 10
