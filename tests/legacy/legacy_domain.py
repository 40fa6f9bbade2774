"""Domain classes whose data directories are in tests/golden, and one for directories that tests write.

coopy 0.7.0 reads this file too: it wrote its golden directory with it.
"""

from datetime import timezone

try:
    from coopy import clock, env
except ImportError:
    clock = env = None


class Page:
    def __init__(self, name, text, at, parent=None):
        self.name = name
        self.text = text
        self.at = at
        self.parent = parent
        self.history = []


class Wiki:
    def __init__(self):
        self.pages = {}
        self.log = []

    def create_page(self, name, text, parent=None):
        if name in self.pages:
            raise KeyError(name)
        self.pages[name] = Page(name, text, self._clock.now(), parent)
        return name

    def edit_page(self, name, text):
        page = self.pages[name]
        page.history.append((page.text, page.at))
        page.text = text
        page.at = self._clock.now()

    def note(self, *words, **marks):
        self.log.append((words, marks, self._clock.today(), self._clock.utcnow()))


class Clerk:
    """Keeps what it was given, as old domains did."""

    def __init__(self, clock, env):
        self.clock = clock
        self.env = env


class Lottery:
    """Asks `_env` and `_clock` for everything that coopy 0.7.0 had."""

    def __init__(self):
        self.players = []
        self.drawn = []
        self.clerk = None

    def enter(self, *names):
        self.players.extend(names)

    def hire(self):
        self.clerk = Clerk(self._clock, self._env)

    def draw(self, count):
        at = self._clock.now()
        winners = self._env.sample(self.players, count)
        self.drawn.append((winners, self._env.choice(self.players), at, self._env.uuid4(), self._clock.utcnow()))
        self._env.shuffle(self.players)

    def ask_the_clerk(self):
        self.drawn.append((self.clerk.env.randint(1, 6), self.clerk.clock.now(), self._env.token_hex(4)))

    def measure(self):
        env, clock = self._env, self._clock
        self.drawn.append(
            (
                env.random(),
                env.uniform(-1, 1),
                env.token_bytes(5),
                env.token_hex(),
                env.token_urlsafe(9),
                clock.now(timezone.utc),
                clock.today(),
                clock.time(),
                clock.monotonic(),
            )
        )

    def spoil(self):
        self.drawn.append(self._env.random())
        raise LookupError(self._env.choice(self.players))


class Shop:
    """For directories that tests write themselves."""

    def __init__(self):
        self.sold = []

    def sell(self, thing):
        self.sold.append((thing, self._clock.now()))

    def sell_untimed(self, thing):
        self.sold.append(thing)

    def refuse(self, thing):
        self.sold.append(thing)
        raise LookupError(thing)

    def sell_later(self, thing):
        try:
            self.sold.append((thing, self._clock.today()))
        except Exception:
            self.sold.append((thing, None))

    def sell_stubbornly(self, thing):
        try:
            self._clock.now()
        except Exception:
            self.sold.append((thing, self._clock.today()))

    def raffle(self, things):
        self.sold.append(self._env.choice(things))

    def throw(self):
        self.sold.append(self._env.triangular(0, 1))

    def exhaust(self):
        raise MemoryError

    def look_at_the_wall(self):
        self.sold.append((clock.now(), env.random()))
