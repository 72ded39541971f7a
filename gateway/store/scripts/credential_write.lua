-- Writes a record, or deletes it if its last version is given.
-- KEYS: record, revision, changes, gone, news.
-- ARGV: SHA-1 of the record that was read, or ''; id; the new record; only to delete: the version.
-- Returns 1, or 0 if somebody else has written meanwhile: what follows a deleted record would get a
-- version number that was in use by then.
-- An empty value, or one of another type, counts as no record: it is replaced, or goes too.
local present = redis.pcall('GET', KEYS[1])
if type(present) == 'table' or present == '' then present = false end
if (present and redis.sha1hex(present) or '') ~= ARGV[1] then return 0 end
-- From the clock: a vault that was lost and filled anew must never reuse numbers.
local time = redis.call('TIME')
local before = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
-- Somebody else may have stored a value that is too large for a score.
if not (before < 2^53) then before = 0 end
local revision = string.format('%.0f', math.max(before + 1, time[1] * 1000000 + time[2]))
local version = ARGV[4]
if version then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[3])
end
redis.call('SET', KEYS[2], revision)
redis.call('ZADD', KEYS[3], revision, ARGV[2])
-- What stays tells pollers that it is gone, and a successor which version it continues.
if version then
  redis.call('HSET', KEYS[4], ARGV[2], version)
else
  redis.call('HDEL', KEYS[4], ARGV[2])
end
-- May fail: it only saves whoever waits the rest of a poll.
redis.pcall('XADD', KEYS[5], 'MAXLEN', 1, revision, 'r', '')
return 1
