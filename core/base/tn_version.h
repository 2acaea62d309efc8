
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The version of ngx_tailnet, in this place alone.  What control is told
 * (IPNVersion) is another: see control/tn_control_int.h.
 */

#ifndef TN_VERSION_H_INCLUDED_
#define TN_VERSION_H_INCLUDED_


#define TN_VERSION  "0.9.0"


#endif /* TN_VERSION_H_INCLUDED_ */
