-- pick_pending: take named tasks out of the pending list wherever they stand, and delete or archive them.
-- KEYS[1] list pending   KEYS[2] zset archived
-- ARGV[1] string task-key prefix   ARGV[2] string verb: delete, archive   ARGV[3] int now, Unix ns
-- ARGV[4] int entries from the oldest to skip   ARGV[5] int entries to look at after those
-- ARGV[6] string lock-key prefix   ARGV[7..] string ids
-- Returns: array: tasks handled, ids taken out that had no task
-- Removal by value is O(n). Here the newest task takes the place of one that is taken out: both are reached by
-- position, at a cost that hardly grows, and no task waits longer than it would have. Of those named, the ones
-- outside the window are left alone.
local skip, span = tonumber(ARGV[4]), tonumber(ARGV[5])
local wanted = {}
for i = 7, #ARGV do wanted[ARGV[i]] = true end
local window = redis.call('LRANGE', KEYS[1], -skip - span, -skip - 1)
local ids, gone, places = {}, 0, {}
-- From the newest to the oldest, so that what takes a place is never one of those still to be taken out.
for i, id in ipairs(window) do
  if wanted[id] then
    wanted[id] = nil
    places[#places + 1] = -skip - #window + i - 1
    if redis.call('EXISTS', ARGV[1] .. id) == 1 then ids[#ids + 1] = id else gone = gone + 1 end
  end
end
enter(ARGV[2], ids, KEYS[1], KEYS[2], string.sub(ARGV[3], 1, -10))
for _, place in ipairs(places) do
  redis.call('LSET', KEYS[1], place, redis.call('LINDEX', KEYS[1], 0))
  redis.call('LPOP', KEYS[1])
end
for _, id in ipairs(ids) do
  local task = ARGV[1] .. id
  local lock = lock_of(task, redis.call('HGET', task, 'unique_key'), ARGV[6])
  settle(ARGV[2], task, id, lock, ARGV[3])
end
return {#ids, gone}
