-- KEYS: revision, changes. ARGV: a revision. Returns {the vault's revision, {id, revision, ...}}: what
-- was written after it.
local now = redis.call('GET', KEYS[1]) or ''
return {now, redis.call('ZRANGE', KEYS[2], '(' .. ARGV[1], '+inf', 'BYSCORE', 'WITHSCORES')}
