-- finish_sets: put a new task in the place of each aggregated set of tasks: both, or neither.
-- KEYS[1] zset aggregation_sets   KEYS[2] list pending   KEYS[3] zset scheduled   KEYS[4] set groups   KEYS[5] zset locks
-- ARGV[1] string task-key prefix   ARGV[2] string group-key prefix   ARGV[3] int now, Unix ns   ARGV[4] int sets
-- ARGV[5..] the keys of the sets; then per set, of the new task: string id, bytes message, int due Unix s or 0 for
--   now, string group or '', string key of its unique lock or '', int life of the lock, s; then int m, int n, m
--   times a key of a task in the set, n times string id and string key of the lock of a unique task in the set
-- Returns: array, per set 1 (stored, the set is gone), 0 (the new id is taken), -1 (the set is no longer theirs) or
--   the id of the task that holds the new one's lock; nothing changed unless it was stored
local at = {scheduled = KEYS[3], groups = KEYS[4], locks = KEYS[5], task = ARGV[1], group = ARGV[2], now_ns = ARGV[3]}
local sets, fresh, ended, gone = tonumber(ARGV[4]), {}, {}, {}
local deadlines = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, 5, 4 + sets))

local function finish(set, i, members, locks)
  local id, unique = ARGV[i], ARGV[i + 4]
  if unique ~= '' and redis.call('EXISTS', ARGV[1] .. id) == 0 then
    -- A lock that a task of the set holds goes over to the new task.
    local holder = redis.pcall('GET', unique)
    if type(holder) == 'string' and redis.call('ZSCORE', set, holder) then redis.call('DEL', unique) end
  end
  local verdict, is_pending = store(at, id, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], unique, ARGV[i + 5])
  if verdict ~= 1 then return verdict end
  if is_pending then fresh[#fresh + 1] = id end
  local first = i + 8 + members
  for n = first, first + 2 * locks - 1, 2 do unlock(ARGV[n + 1], ARGV[n], KEYS[5]) end
  for n = i + 8, i + 7 + members do gone[#gone + 1] = ARGV[n] end
  gone[#gone + 1], ended[#ended + 1] = set, set
  return 1
end

local verdicts, i = {}, 5 + sets
for n = 1, sets do
  local members, locks = tonumber(ARGV[i + 6]), tonumber(ARGV[i + 7])
  verdicts[n] = deadlines[n] and finish(ARGV[4 + n], i, members, locks) or -1
  i = i + 8 + members + 2 * locks
end
if #ended > 0 then
  redis.call('ZREM', KEYS[1], unpack(ended))
  redis.call('DEL', unpack(gone))
end
if #fresh > 0 then redis.call('LPUSH', KEYS[2], unpack(fresh)) end
return verdicts
