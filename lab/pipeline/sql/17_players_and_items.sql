-- Which of the six best-selling items did the eight players buy who bought most?
SELECT host, json_format(CAST(histogram(type) AS json)) AS items
FROM purchases
WHERE host IN (SELECT host FROM purchases GROUP BY host ORDER BY count(*) DESC, host LIMIT 8)
  AND type IN (SELECT type FROM purchases GROUP BY type ORDER BY count(*) DESC, type LIMIT 6)
GROUP BY host
ORDER BY count(*) DESC, host
