-- KEYS: record. ARGV: hash field, tag field, the hash that was verified, tag, known pepper ids…
-- The record may have been deleted or rotated since it was read: then nothing is written.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then
  return 0
end
local present = redis.call('HGET', KEYS[1], ARGV[2]) or ''
local pid, of = string.match(present, '^(%x%x%x%x%x%x%x%x):(%x+):%x+$')
-- One of another hash says nothing of this one, whosever it is.
if pid and of == string.match(ARGV[4], '^%x+:(%x+):') then
  local known = false
  for i = 5, #ARGV do
    known = known or ARGV[i] == pid
  end
  -- Another gateway's pepper: its tag is as good as ours, and two would overwrite each other.
  if not known then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
return 1
