
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A doubly linked list whose links stand inside the elements.  A list head
 * is a link that points to itself when empty.
 */

#ifndef TN_LIST_H_INCLUDED_
#define TN_LIST_H_INCLUDED_

#include "tn_base.h"


typedef struct tn_link_s  tn_link_t;

struct tn_link_s {
    tn_link_t  *prev;
    tn_link_t  *next;
};


static inline void
tn_list_init(tn_link_t *head)
{
    head->prev = head;
    head->next = head;
}


static inline bool
tn_list_empty(const tn_link_t *head)
{
    return head->next == head;
}


static inline void
tn_list_push(tn_link_t *head, tn_link_t *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}


/* safe on a link that is in no list, if it was initialised or removed */
static inline void
tn_list_remove(tn_link_t *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    tn_list_init(link);
}


/* the first link, removed, or NULL */
static inline tn_link_t *
tn_list_shift(tn_link_t *head)
{
    tn_link_t  *link;

    if (tn_list_empty(head)) {
        return NULL;
    }

    link = head->next;
    tn_list_remove(link);

    return link;
}


#define tn_list_each(link, head)                                              \
    for (link = (head)->next; link != (head); link = link->next)

/* the body may remove `link` */
#define tn_list_each_safe(link, tmp, head)                                    \
    for (link = (head)->next, tmp = link->next; link != (head);               \
         link = tmp, tmp = tmp->next)


#endif /* TN_LIST_H_INCLUDED_ */
