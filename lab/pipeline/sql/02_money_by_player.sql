-- How much does each player buy and spend?
SELECT host, count(*) AS purchases, sum(cost) AS spent
FROM purchases
GROUP BY host
ORDER BY spent DESC, host
LIMIT 10
