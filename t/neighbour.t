#!/usr/bin/perl

# Beside a module that does in its workers what rtmp does (rtmp_auto_push):
# it adds to nginx's list of listeners, which then is elsewhere in memory than
# connections say. Tailnet listeners go on, by a worker that has just begun
# and after a reload. The module is compiled here, against the nginx tree that
# ours was.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Solo;

plan skip_all => 'needs root' if $> != 0;

my $solo = Tailnet::Solo->new;

plan skip_all => 'the module is not built' unless -e $solo->module;

my $tree = "$solo->{build}/nginx";

plan skip_all => 'no nginx tree that the module was built in'
    if $solo->{static} || !-e "$tree/objs/ngx_auto_config.h";

my $object = $solo->dir . '/ngx_neighbour_module.so';

$solo->write('neighbour.c', <<'C');
#include <ngx_config.h>
#include <ngx_core.h>

static ngx_int_t
neighbour_init_process(ngx_cycle_t *cycle)
{
    void        *elts = cycle->listening.elts;
    ngx_uint_t   n = cycle->listening.nelts;

    while (cycle->listening.elts == elts) {
        if (ngx_array_push(&cycle->listening) == NULL) {
            return NGX_ERROR;
        }
    }

    cycle->listening.nelts = n;

    return NGX_OK;
}

static ngx_core_module_t  neighbour_ctx = {
    ngx_string("neighbour"), NULL, NULL
};

ngx_module_t  ngx_neighbour_module = {
    NGX_MODULE_V1, &neighbour_ctx, NULL, NGX_CORE_MODULE, NULL, NULL,
    neighbour_init_process, NULL, NULL, NULL, NULL, NGX_MODULE_V1_PADDING
};

ngx_module_t *ngx_modules[] = { &ngx_neighbour_module, NULL };
char *ngx_module_names[] = { "ngx_neighbour_module", NULL };
char *ngx_module_order[] = { NULL };
C

is($solo->compile($solo->dir . '/neighbour.c', $object), 0,
   'a module of another')
    or die 'it does not compile';

my ($node, $paths) = ($solo->node, Tailnet::Solo::http_paths());
my ($closed, $port) = (Tailnet::Port::free(), Tailnet::Port::free());

$solo->configure(<<"CONF");
load_module $object;
events { worker_connections 256; }
tailnet %%NODE%% { control_url http://127.0.0.1:$closed; state state; }
http {
    $paths
    server { listen $port tailnet; return 200 page; }
    server { listen $port; return 200 host; }
}
CONF
$solo->start;

for my $when ('at the start', 'after a reload') {
    is($solo->get("127.0.0.1:$port", $node), 'page', "IPv4 $when");
    is($solo->get("[::1]:$port", $node), 'page', "IPv6 $when");
    is($solo->get("127.0.0.1:$port"), 'host', "the host $when");

    $solo->reload if $when eq 'at the start';
}

is(join("\n", $solo->errors(qr/\[(?:emerg|alert|crit)\]/)), '',
   'nothing alarming in the log');

done_testing();
