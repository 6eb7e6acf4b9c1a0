-- Which item bought was the costliest?
SELECT type, cost, count(*) AS purchases
FROM purchases
WHERE cost = (SELECT max(cost) FROM purchases)
GROUP BY type, cost
ORDER BY type
