-- What do players ask for that the game does not have?
SELECT wanted, count(*) AS times, count(DISTINCT host) AS players
FROM rejected
WHERE event_type = 'rejected_purchase'
GROUP BY wanted
ORDER BY times DESC, wanted
LIMIT 10
