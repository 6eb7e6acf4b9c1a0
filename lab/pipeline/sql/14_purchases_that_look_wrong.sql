-- Which purchases look wrong? What was asked for and does not exist, or costs a tenfold of the mean.
SELECT 'rejected' AS why, wanted AS item, host, count(*) AS times
FROM rejected
WHERE event_type = 'rejected_purchase'
GROUP BY wanted, host
UNION ALL
SELECT 'costly', type, host, count(*)
FROM purchases
WHERE cost >= 10 * (SELECT avg(cost) FROM purchases)
GROUP BY type, host
ORDER BY why, times DESC, item, host
LIMIT 10
