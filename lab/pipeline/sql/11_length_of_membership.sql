-- How long does a membership last? A leave ends that player's oldest open membership.
SELECT guild_name, count(*) AS memberships, count(left_at) AS ended,
  round(avg(date_diff('millisecond', joined_at, left_at)) / 1000.0, 1) AS mean_seconds
FROM memberships
GROUP BY guild_name
ORDER BY memberships DESC, guild_name
