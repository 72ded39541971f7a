-- KEYS: revision, changes. ARGV: a revision. Returns {the vault's revision, {id, revision, ...}: what
-- was written after it, {seconds, microseconds} of this server's clock}.
local now = redis.call('GET', KEYS[1]) or ''
local changed = redis.call('ZRANGE', KEYS[2], '(' .. ARGV[1], '+inf', 'BYSCORE', 'WITHSCORES')
return {now, changed, redis.call('TIME')}
