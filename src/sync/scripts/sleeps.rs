//! Who sleeps on what, who is woken, and what one takes with it that dies.

// Sleeps and wakes.
scripts! {
    the_first_to_sleep_is_the_first_to_wake: "
        a sleeps x=0
        b sleeps x=0
        c sleeps x=0
        d wakes x 1 -> 1: a by 0
        a sleeps x=0
        d wakes x 1 -> 1: b by 0
        d wakes x 3 -> 2: a by 0, c by 0
        d wakes x 1 -> 0
        x is 0"

    a_wake_of_two_leaves_the_third_asleep: "
        a sleeps x=0
        b sleeps x=0
        c sleeps x=0
        d wakes x 2 -> 2: a by 0, b by 0
        x is 0"

    a_sleeper_on_three_words_is_told_the_one: "
        a sleeps x=0 y=0 z=0
        b wakes y 1 -> 1: a by 1
        b wakes x 1 -> 0
        b wakes z 1 -> 0
        a sleeps x=0 y=0 z=0
        b wakes z 1 -> 1: a by 2
        x is 0
        y is 0
        z is 0"

    the_last_index_is_told_whichever_wake_came_first: "
        a sleeps x=0 y=0 z=0
        b wakes x and y -> 2: a by 1
        a sleeps x=0 y=0 z=0
        b wakes y and x -> 2: a by 1
        a sleeps x=0 y=0 z=0
        b wakes z and x -> 2: a by 2
        x is 0
        y is 0
        z is 0"

    /// `a` was woken through `x`, and is still first on the queue of `y`.
    one_that_was_woken_eats_a_wake_on_another_word: "
        a sleeps x=0 y=0
        b sleeps y=0
        c wakes x and y -> 2: a by 1
        c wakes y 1 -> 1: b by 0
        x is 0
        y is 0"

    one_that_was_woken_and_is_back_eats_no_wake: "
        a sleeps x=0 y=0
        b sleeps y=0
        c wakes x 1 -> 1: a by 0
        c wakes y 1 -> 1: b by 0
        x is 0
        y is 0"

    a_word_named_twice_has_its_sleeper_twice: "
        a sleeps x=0 x=0
        b sleeps x=0
        c wakes x 2 -> 2: a by 1
        c wakes x 2 -> 1: b by 0
        x is 0"

    a_word_that_differs_is_no_sleep_and_leaves_no_queue: "
        a sets y 5
        a sleeps x=0 y=0 z=0 -> a changed
        b wakes x 1 -> 0
        b wakes z 1 -> 0
        a sleeps x=1 y=5 -> a changed
        b wakes y 1 -> 0
        a sleeps x=0 y=5 z=9 -> a changed
        b sleeps x=0
        c wakes x 1 -> 1: b by 0
        x is 0
        y is 5
        z is 0"

    halves_are_compared_and_woken_apart: "
        a sets x 3|7<<32
        b sleeps x.high=3 -> b changed
        b sleeps x=7 -> b changed
        b sleeps x=3
        c sleeps x.high=7
        a wakes x.high 9 -> 1: c by 0
        a wakes x 9 -> 1: b by 0
        x is 3|7<<32"

    a_word_that_changes_wakes_nobody_by_itself: "
        a sleeps x=0
        b sets x 9
        b wakes x 1 -> 1: a by 0
        x is 9"

    a_sleeper_that_dies_is_on_no_queue: "
        a sleeps x=0 y=0
        b sleeps y=0 x=0
        a dies
        c wakes y 1 -> 1: b by 0
        c wakes x 1 -> 0
        x is 0
        y is 0"

    a_sleeper_that_dies_leaves_what_a_dead_one_leaves: "
        a sets x a|W
        a links x
        a pends y
        b sleeps x=a|W
        c sleeps y=0
        a sleeps x=a|W y=0
        a dies -> b by 0, c by 0
        x is D|W
        y is 0"

    /// Its own entry is gone before the walk: it eats no wake of its own.
    a_sleeper_on_its_own_pending_word_wakes_the_next: "
        a pends g
        a sleeps g=0
        b sleeps g=0
        a dies -> b by 0
        g is 0"
}

// One that was woken dies: the gate, which is always 0, passes it on.
scripts! {
    one_that_was_woken_and_dies_wakes_one_more_at_the_gate: "
        a sets x a|W
        a links x
        b pends g
        b sleeps g=0 x=a|W
        c pends g
        c sleeps g=0 x=a|W
        d sleeps g=0 x=a|W
        a dies -> b by 1
        b dies -> c by 0
        c dies -> d by 0
        x is D|W
        g is 0"

    without_a_gate_one_that_was_woken_and_dies_takes_the_wake_with_it: "
        a sets x a|W
        a links x
        b sleeps x=a|W
        c sleeps x=a|W
        a dies -> b by 0
        b dies
        x is D|W"
}
