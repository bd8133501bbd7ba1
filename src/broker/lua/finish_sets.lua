-- finish_sets: put a new task in the place of each aggregated set of tasks: both, or neither.
-- KEYS[1] zset aggregation_sets   KEYS[2] list pending   KEYS[3] zset scheduled   KEYS[4] set groups   KEYS[5] zset locks
-- KEYS[6] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] string group-key prefix   ARGV[3] int now, Unix ns
-- ARGV[4] bytes MessagePack: array, per set an array: key of the set; of the new task id, message, due Unix s or '0' for
--   now, group or '', key of its unique lock or '', life of the lock, s, and Unix ms by which it is to begin or '';
--   array of the keys of the set and of its tasks; array with id and key of the lock of each unique task of the set.
--   Numbers are strings
-- Returns: array, per set 1 (stored, the set is gone), 0 (the new id is taken), -1 (the set is no longer theirs) or
--   the id of the task that holds the new one's lock; nothing changed unless it was stored
-- Fails before anything is written, should pending be another sort of key.
redis.call('LLEN', KEYS[2])
local at = {
  scheduled = KEYS[3], groups = KEYS[4], locks = KEYS[5], expiring = KEYS[6],
  task = ARGV[1], group = ARGV[2], now_ns = ARGV[3]
}
local sets, names, fresh, ended, verdicts = cmsgpack.unpack(ARGV[4]), {}, {}, {}, {}
for n, set in ipairs(sets) do names[n] = set[1] end
local deadlines = redis.call('ZMSCORE', KEYS[1], unpack(names))

local function finish(name, id, message, due, group, unique, life_s, begin_by, gone, locks)
  if unique ~= '' and redis.call('EXISTS', ARGV[1] .. id) == 0 then
    -- A lock that a task of the set holds goes over to the new task.
    local holder = redis.pcall('GET', unique)
    if type(holder) == 'string' and redis.call('ZSCORE', name, holder) then redis.call('DEL', unique) end
  end
  local verdict, is_pending = store(at, id, message, due, group, unique, life_s, begin_by)
  if verdict ~= 1 then return verdict end
  if is_pending then fresh[#fresh + 1] = id end
  for n = 1, #locks, 2 do unlock(locks[n + 1], locks[n], KEYS[5]) end
  ended[#ended + 1] = name
  redis.call('DEL', unpack(gone))
  return 1
end

for n, set in ipairs(sets) do verdicts[n] = deadlines[n] and finish(unpack(set)) or -1 end
if #ended > 0 then redis.call('ZREM', KEYS[1], unpack(ended)) end
if #fresh > 0 then redis.call('LPUSH', KEYS[2], unpack(fresh)) end
return verdicts
