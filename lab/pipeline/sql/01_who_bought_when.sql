-- Who bought, when, and how often?
SELECT host, count(*) AS purchases, min(timestamp) AS first_purchase, max(timestamp) AS last_purchase
FROM purchases
GROUP BY host
ORDER BY purchases DESC, host
LIMIT 10
