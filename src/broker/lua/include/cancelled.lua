-- cancelled: what is asked of an attempt by a mark in its task: 'stop', 'retry', or nothing.
-- The mark counts only while it names the lease that the attempt has: it dies with the attempt, whoever ends it.
local function cancelled(task, score)
  local lease, what = string.match(redis.call('HGET', task, 'cronmill_cancel') or '', '^(%d+)|(%a+)$')
  return what and lease == score and what or nil
end
