-- How many members has each guild now?
SELECT guild_name, max_by(guild_member_cnt, guild_seq) AS members
FROM guilds
GROUP BY guild_name
ORDER BY members DESC, guild_name
