-- How many events does each guild have, and how many with a known member count?
SELECT guild_name, count(*) AS events, count(guild_member_cnt) AS with_member_count
FROM guilds
GROUP BY guild_name
ORDER BY events DESC, guild_name
