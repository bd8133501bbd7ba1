-- Enqueues nothing more, until resumed.
obj.spec.suspend = true
return obj
