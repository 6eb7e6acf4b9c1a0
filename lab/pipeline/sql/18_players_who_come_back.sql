-- Do players come back? Of those who could, on the n-th day after their first.
WITH days AS (
  SELECT DISTINCT host, date(played_at) AS day
  FROM actions
  WHERE by_game_clock = (SELECT bool_or(by_game_clock) FROM actions)
),
firsts AS (SELECT host, min(day) AS first_day FROM days GROUP BY host)
SELECT n AS days_after_the_first, count(*) AS players, count(days.host) AS came_back,
  round(100.0 * count(days.host) / count(*), 1) AS percent_came_back
FROM firsts
CROSS JOIN UNNEST(sequence(1, 6)) AS later (n)
LEFT JOIN days ON days.host = firsts.host AND days.day = date_add('day', n, firsts.first_day)
WHERE date_add('day', n, firsts.first_day) <= (SELECT max(day) FROM days)
GROUP BY n
ORDER BY n
