//! What the end of a thread does to words, and whom it wakes.

// Words on the list.
scripts! {
    a_dead_owner_without_sleepers_leaves_owner_died: "
        a sets x a
        a links x
        a dies
        x is D"

    one_of_two_sleepers_is_woken_and_waiters_stays: "
        a sets x a|W|7<<32
        a links x
        b sleeps x=a|W
        c sleeps x=a|W
        a dies -> b by 0
        x is D|W|7<<32"

    without_waiters_nobody_is_woken: "
        a sets x a
        a links x
        b sleeps x=a
        a dies
        x is D"

    a_word_with_anothers_tid_is_left_alone: "
        b sets x b|W
        a links x
        c sleeps x=b|W
        a dies
        x is b|W"

    on_the_list_a_word_that_names_nobody_is_left_alone: "
        a sets x W
        a links x
        b sleeps x=W
        c sleeps y=0
        a links y
        a dies
        x is W
        y is 0"

    what_another_took_meanwhile_is_its_own: "
        a sets x a|W
        a links x
        b sleeps x=a|W
        c sets x c|W
        a dies
        x is c|W
        c dies
        x is c|W"

    of_two_that_have_a_word_on_their_lists_its_owners_death_counts: "
        a links x
        b links x
        b sets x b
        a dies
        x is b
        b dies
        x is D"

    all_words_on_the_list_are_marked: "
        a sets x a|W
        a links x
        a sets y a
        a links y
        a sets z a|W
        a links z
        b sleeps x=a|W
        c sleeps y=a
        d sleeps z=a|W
        a dies -> b by 0, d by 0
        x is D|W
        y is D
        z is D|W"

    a_word_that_was_taken_off_is_left_alone: "
        a sets x a
        a links x
        a sets y a
        a links y
        a sets z a
        a links z
        a unlinks y
        a dies
        x is D
        y is a
        z is D"

    the_front_and_the_oldest_can_be_taken_off: "
        a sets x a
        a links x
        a sets y a
        a links y
        a sets z a
        a links z
        a unlinks z
        a unlinks x
        a dies
        x is a
        y is D
        z is a"

    a_word_that_is_marked_already_and_has_the_tid_is_marked: "
        a sets x a|D|W
        a links x
        b sleeps x=a|D|W
        a dies -> b by 0
        x is D|W"

    a_mark_wakes_sleepers_of_the_low_half_alone: "
        a sets x a|W|7<<32
        a links x
        b sleeps x.high=7
        c sleeps x=a|W
        a dies -> c by 0
        x is D|W|7<<32
        d wakes x.high 1 -> 1: b by 0
        x is D|W|7<<32"

    the_walk_ends_after_2048_words_from_the_front: "
        a sets x a
        a links x
        a links z 2047
        a sets y a
        a links y
        b sleeps p=0
        a pends p
        a dies -> b by 0
        x is a
        y is D
        z is 0
        p is 0"

    the_last_of_2048_words_is_marked: "
        a sets x a
        a links x
        a links z 2046
        a sets y a
        a links y
        a dies
        x is D
        y is D
        z is 0"

    a_pending_node_on_the_list_counts_as_one_of_the_2048: "
        a sets x a
        a links x
        a links z 2047
        a sets y a
        a links y
        a pends node y
        a dies
        x is a
        y is D
        z is 0"
}

// The pending operation.
scripts! {
    a_pending_word_of_0_wakes_one: "
        a pends x
        b sleeps x=0
        c sleeps x=0
        a dies -> b by 0
        x is 0"

    a_pending_word_of_waiters_alone_wakes_one_where_the_owner_is_tested: "
        b sets x W
        a pends x
        b sleeps x=W
        c sleeps x=W
        a dies -> b by 0 / nobody
        x is W"

    a_pending_word_that_is_marked_wakes_one_where_the_owner_is_tested: "
        b sets x D|W
        a pends x
        b sleeps x=D|W
        a dies -> b by 0 / nobody
        x is D|W"

    the_high_half_of_a_pending_word_is_not_tested: "
        b sets x 5<<32
        a pends x
        b sleeps x=0
        a dies -> b by 0
        x is 5<<32"

    a_pending_word_with_the_own_tid_is_marked: "
        a sets x a|W
        a pends x
        b sleeps x=a|W
        c sleeps x=a|W
        a dies -> b by 0
        x is D|W"

    a_pending_word_with_the_own_tid_and_no_waiters_wakes_nobody: "
        a sets x a
        a pends x
        b sleeps x=a
        a dies
        x is D"

    a_pending_word_with_anothers_tid_wakes_nobody: "
        b sets x b|W
        a pends x
        c sleeps x=b|W
        a dies
        x is b|W"

    a_pending_word_with_a_state_that_is_no_tid_wakes_nobody: "
        a sets x 536870912
        a pends node x
        b sleeps x=536870912
        a dies
        x is 536870912"

    what_is_cleared_is_not_pending: "
        a pends x
        a clears
        b sleeps x=0
        a dies
        x is 0"

    one_operation_alone_is_pending: "
        a pends x
        a pends y
        b sleeps x=0
        c sleeps y=0
        a dies -> c by 0
        x is 0
        y is 0"

    a_pending_node_on_the_list_is_walked_once: "
        a sets x a|W
        a links x
        a pends node x
        b sleeps x=a|W
        c sleeps x=a|W
        a dies -> b by 0
        x is D|W"

    a_pending_node_behind_another_on_the_list_is_walked_once: "
        a sets x a|W
        a links x
        a sets y a
        a links y
        a pends node x
        b sleeps x=a|W
        c sleeps x=a|W
        a dies -> b by 0
        x is D|W
        y is D"

    /// They are two entries: what counts is the address, not the word.
    a_listed_word_that_is_pending_by_another_address_is_walked_twice: "
        a sets x a|W
        a links x
        a pends x
        b sleeps x=a|W
        c sleeps x=a|W
        a dies -> b by 0, c by 0 / b by 0
        x is D|W"

    /// The other way round, the pending word would be marked, and there would be nothing left to wake for.
    the_pending_operation_comes_after_the_list: "
        a sets x a
        a links x
        a pends x
        b sleeps x=a
        a dies -> b by 0 / nobody
        x is D"

    the_list_and_another_pending_word_are_both_walked: "
        a sets x a|W
        a links x
        a pends y
        b sleeps x=a|W
        c sleeps y=0
        a dies -> b by 0, c by 0
        x is D|W
        y is 0"
}

// The textbook robust mutex, killed after each step. Before its first and after its last are the scripts above.
scripts! {
    locking_it_died_with_the_word_and_not_on_the_list: "
        a pends node x
        a sets x a|W
        b sleeps x=a|W
        a dies -> b by 0
        x is D|W"

    unlocking_it_died_with_the_word_and_off_the_list: "
        a sets x a|W
        a links x
        b sleeps x=a|W
        a pends node x
        a unlinks x
        a dies -> b by 0
        x is D|W"

    unlocking_it_died_before_its_wake: "
        a sets x a|W
        a links x
        b sleeps x=a|W
        c sleeps x=a|W
        a pends node x
        a unlinks x
        a sets x 0
        a dies -> b by 0
        x is 0"

    /// The hole in the textbook: nobody wakes `b`.
    unlocking_it_died_before_its_wake_and_another_had_locked: "
        a sets x a|W
        a links x
        b sleeps x=a|W
        a pends node x
        a unlinks x
        a sets x 0
        c sets x c
        a dies
        x is c"

    unlocking_it_died_after_its_wake: "
        a sets x a|W
        a links x
        b sleeps x=a|W
        c sleeps x=a|W
        a pends node x
        a unlinks x
        a sets x 0
        a wakes x 1 -> 1: b by 0
        a dies -> c by 0
        x is 0"

    unlocking_it_died_with_nothing_pending: "
        a sets x a|W
        a links x
        b sleeps x=a|W
        c sleeps x=a|W
        a pends node x
        a unlinks x
        a sets x 0
        a wakes x 1 -> 1: b by 0
        a clears
        a dies
        x is 0"
}

// The ways to end.
scripts! {
    an_exit_counts_as_death: "
        a sets x a|W
        a links x
        a pends y
        b sleeps x=a|W
        c sleeps y=0
        a exits -> b by 0, c by 0
        x is D|W
        y is 0"

    a_thread_that_ends_counts_as_dead_while_its_process_lives: "
        a is a thread
        a sets x a|W
        a links x
        a pends y
        b sleeps x=a|W
        c sleeps y=0
        a ends -> b by 0, c by 0
        x is D|W
        y is 0"

    a_thread_that_is_killed_with_its_process_counts_as_dead: "
        a is a thread
        a sets x a|W
        a links x
        b sleeps x=a|W
        a dies -> b by 0
        x is D|W"

    an_exec_counts_as_death: "
        a sets x a|W
        a links x
        a pends y
        b sleeps x=a|W
        c sleeps y=0
        a execs -> b by 0, c by 0
        x is D|W
        y is 0"

    /// The kernel gives it the TID of its process's first thread, and then walks its list: no word there names it any more.
    an_exec_by_another_than_the_first_thread_marks_nothing: "
        a is a thread
        a sets x a|W
        a links x
        a pends y
        b sleeps x=a|W
        c sleeps y=0
        a execs -> c by 0
        x is a|W
        y is 0"

    a_forked_child_has_no_list: "
        a sets x a|W
        a links x
        a pends y
        b sleeps x=a|W
        d sleeps y=0
        a forks c
        c dies
        x is a|W
        a dies -> b by 0, d by 0
        x is D|W
        y is 0"

    a_forked_childs_own_tid_in_its_parents_word_is_left_alone: "
        a links x
        a forks c
        c sets x c|W
        b sleeps x=c|W
        c exits
        a dies
        x is c|W"
}
