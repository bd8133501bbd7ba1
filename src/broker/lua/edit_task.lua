-- edit_task: replace the message of a task that is not running; the lock of a unique task moves with it.
-- KEYS[1] hash task
-- ARGV[1] string id   ARGV[2] bytes message it must have   ARGV[3] bytes message from now on
-- ARGV[4] string lock of the message it has, or ''   ARGV[5] string lock of the new one, or ''
-- Returns: array: verdict (edited, active, changed, taken, absent), its state, who holds the new lock or ''
-- The new lock ends when the old one would have. A task that does not hold its lock any more gets no new one.
local field = redis.call('HMGET', KEYS[1], 'msg', 'state')
local state = field[2]
if not state then return {'absent', '', ''} end
if state == 'active' then return {'active', state, ''} end
if field[1] ~= ARGV[2] then return {'changed', state, ''} end
if ARGV[4] ~= ARGV[5] then
  if redis.call('GET', ARGV[4]) == ARGV[1] then
    local left = redis.call('PTTL', ARGV[4])
    local taken
    if left > 0 then
      taken = redis.call('SET', ARGV[5], ARGV[1], 'NX', 'PX', left)
    else
      taken = redis.call('SET', ARGV[5], ARGV[1], 'NX')
    end
    local holder = redis.call('GET', ARGV[5])
    if not taken and holder ~= ARGV[1] then return {'taken', state, holder} end
    redis.call('DEL', ARGV[4])
  end
  redis.call('HSET', KEYS[1], 'unique_key', ARGV[5])
end
redis.call('HSET', KEYS[1], 'msg', ARGV[3])
return {'edited', state, ''}
