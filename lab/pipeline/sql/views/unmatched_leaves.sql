-- Leaves of players who had no open join of that guild: the API takes them, and the count never falls below zero.
SELECT guilds.*
FROM guilds
LEFT JOIN memberships ON guilds.guild_seq = memberships.left_seq
WHERE guilds.event_type = 'leave_guild' AND memberships.left_seq IS NULL
