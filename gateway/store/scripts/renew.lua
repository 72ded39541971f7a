-- KEYS: lease sets. ARGV: the lease, milliseconds. An expired lease is not revived: another request
-- may have been admitted in its place.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('ZSCORE', key, ARGV[1]) or 0) > now then
    redis.call('ZADD', key, string.format('%.0f', now + ARGV[2]), ARGV[1])
    redis.call('PEXPIRE', key, ARGV[2] + 1000)
  end
end
return 1
