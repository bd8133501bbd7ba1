-- retire_entry: stop an entry from firing, and delete it unless it shall stand as a tombstone for a while.
-- KEYS[1] hash entry   KEYS[2] zset due   KEYS[3] list ticks
-- ARGV[1] string uid   ARGV[2] string cluster it must belong to, or ''   ARGV[3] 1 to leave a tombstone
-- ARGV[4] int life of its ledger after that, s
-- Returns: array: verdict (retired, absent, foreign), next tick not accounted for or '', hash of its times, due
local old = redis.call('HMGET', KEYS[1], 'rev', 'cluster', 'next', 'timing')
if not old[1] then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {'absent', '', '', ''}
end
if ARGV[2] ~= '' and old[2] ~= ARGV[2] then return {'foreign', '', '', ''} end
local due = redis.call('ZSCORE', KEYS[2], ARGV[1]) or ''
redis.call('ZREM', KEYS[2], ARGV[1])
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'retired', 1)
else
  redis.call('DEL', KEYS[1])
  redis.call('EXPIRE', KEYS[3], ARGV[4])
end
return {'retired', old[3], old[4], due}
