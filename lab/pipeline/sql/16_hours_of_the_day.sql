-- At what hour do players buy? By the game's clock, where there is one.
SELECT hour(played_at) AS hour, count(DISTINCT host) AS players, count(*) AS purchases
FROM actions
WHERE item IS NOT NULL AND by_game_clock = (SELECT bool_or(by_game_clock) FROM actions)
GROUP BY hour(played_at)
ORDER BY hour
