-- Do guild members buy more?
WITH players AS (
  SELECT host, count_if(is_purchase) AS purchases, bool_or(NOT is_purchase) AS member
  FROM (
    SELECT host, true AS is_purchase FROM purchases
    UNION ALL
    SELECT host, false FROM guilds WHERE event_type = 'join_guild'
  )
  GROUP BY host
)
SELECT member AS joined_a_guild, count(*) AS players, round(avg(purchases), 2) AS purchases_per_player
FROM players
GROUP BY member
ORDER BY member
