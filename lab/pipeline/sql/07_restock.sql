-- What should be restocked first? The five items that sold most.
SELECT type, count(*) AS sold, round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent_of_sales
FROM purchases
GROUP BY type
ORDER BY sold DESC, type
LIMIT 5
