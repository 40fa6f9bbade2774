def validate(cls, mode): pass
