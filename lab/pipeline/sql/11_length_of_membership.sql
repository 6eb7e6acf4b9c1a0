-- How long does a membership last? A leave ends that player's oldest open membership.
SELECT guild_name, count(*) AS memberships, count(left_at) AS ended,
  round(avg(date_diff('second', joined_at, left_at)) / 3600.0, 1) AS mean_hours_of_the_ended
FROM memberships
GROUP BY guild_name
ORDER BY memberships DESC, guild_name
