-- What should be restocked first? The five items that sold most; the same item in the same second counts once.
SELECT item, count(*) AS sold, round(100.0 * count(*) / sum(count(*)) OVER (), 1) AS percent_of_sales
FROM (SELECT DISTINCT host, item, played_at FROM actions WHERE item IS NOT NULL)
GROUP BY item
ORDER BY sold DESC, item
LIMIT 5
