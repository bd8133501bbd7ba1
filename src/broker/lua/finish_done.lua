-- finish_done: end attempts that succeeded and leave nothing behind: no result that is kept, no lock.
-- KEYS[1] list active   KEYS[2] zset lease   KEYS[3] hash holders   KEYS[4] int processed   KEYS[5] int processed today
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3] int end of today's counter, Unix s
-- ARGV[4] int lease end they are said to have   ARGV[5..] string ids
-- Returns: stored when every one was; else the places of those no longer theirs, counted from 1: nothing changed for them
local call, prefix, owner, said, lease = redis.call, ARGV[1], ARGV[2], ARGV[4], KEYS[2]
local ids = {}
for i = 5, #ARGV do ids[i - 4] = ARGV[i] end
local held = call('HMGET', KEYS[3], unpack(ids))
local ended, leaving, gone, lost, n = {}, {}, {}, {}, 0
for i = 1, #ids do
  local id = ids[i]
  if not leaving[id] and owned(held[i], score_of(lease, id, said), owner) then
    n = n + 1
    ended[n], leaving[id], gone[n] = id, true, prefix .. id
  else
    lost[#lost + 1] = i
  end
end
if n > 0 then
  leave_together(KEYS[1], ended, leaving)
  call('ZREM', lease, unpack(ended))
  call('HDEL', KEYS[3], unpack(ended))
  call('UNLINK', unpack(gone))
  count(KEYS[4], KEYS[5], n, ARGV[3])
end
return lost[1] and lost or 'stored'
