#!/usr/bin/perl

# The life of nginx and of its helpers under load from a real tailscaled, both
# ways and with downloads under way: reloads, good and bad, more and fewer
# workers, nodes that come, go and change their name, upgrades, one called off,
# and kill -9 of everything. Every answer is compared byte by byte; outside of
# a killed worker none may be lost; with TAILNET_STACK=lwip also none but what
# was under way when the core was killed, and TAILNET_QUICK=1 does a half of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;
use Tailnet::Load;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};
my $nginx = $lab->nginx(host => $web, module => 1);
my $page = join '', map { "line $_ of the page\n" } 1 .. 50;
my $big = join '', map { chr(33 + ($_ * 7 + $_ / 1000) % 90) } 1 .. 2_000_000;

for my $server ($nginx, $tailnet->{peer_web}) {
    $server->write('html/page', $page);
    $server->write('html/big', $big);
}

my $lwip = ($ENV{TAILNET_STACK} // '') eq 'lwip';
my $quick = $ENV{TAILNET_QUICK};
my $home = $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key});
my $other = $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
                                  name => 'other', hostname => 'other');
my $renamed = $other =~ s/^tailnet other/tailnet another/r;

# workers, main: text of the main context; http: text of that block

sub configure {
    my (%opt) = @_;

    $nginx->configure(
        main => 'worker_processes ' . ($opt{workers} // 2) . ";\n$home"
            . ($opt{main} // ''),
        http => <<"HTTP" . ($opt{http} // ''));
    upstream peer { zone peer 64k; server peer:80 tailnet=home max_fails=0; }

    server {
        listen 80 tailnet=home;
        location /big { limit_rate 2m; }
    }
    server {
        listen 8000;
        proxy_max_temp_file_size 0;
        location /    { proxy_pass http://peer; proxy_next_upstream off; }
        location /big { proxy_pass http://peer; limit_rate 2m; }
    }
HTTP
}

# A daemon: another one ignores USR2 while its parent lives.

configure();
$web->run(map { s/daemon off; //r } $nginx->command);
$lab->wait_for(10, 'the start', sub { $nginx->workers($nginx->master) });

my $self = eval { $peer->wait_peer('web', 20) }
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);
my ($web4) = grep { /\./ } @{$self->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};

$peer->wait_get('http://web/page', seconds => 20);
$infra->wait_get('http://' . $web->ip4 . ':8000/page', seconds => 20);

my $file = $nginx->prefix . '/html/page';
my $large = $nginx->prefix . '/html/big';
my @in = (host => $peer->host, ip => $web4);
my @out = (host => $infra, ip => $web->ip4, port => 8000);

my $load = Tailnet::Load->new($lab,
    in      => { @in, path => '/page', file => $file, clients => 2 },
    in6     => { @in, ip => $web6, path => '/page', file => $file,
                 clients => 1 },
    in_big  => { @in, path => '/big', file => $large, clients => 2 },
    out     => { @out, path => '/page', file => $file, clients => 2 },
    out_big => { @out, path => '/big', file => $large, clients => 2 });

my %total = (good => 0, bytes => 0, lost => 0);

sub reload {
    my ($count) = @_;
    my $pid = $nginx->master;
    my %old = map { $_ => 1 } $nginx->workers($pid);

    kill 'HUP', $pid;
    $lab->wait_for(15, 'new workers', sub {
        my @new = grep { !$old{$_} } $nginx->workers($pid);
        return @new >= ($count // 1);
    });
}

sub upgrade {
    my $old = $nginx->master;

    kill 'USR2', $old;
    eval {
        $lab->wait_for(15, 'the new master', sub {
            my $new = $nginx->master;
            return $new && $new != $old && $nginx->workers($new);
        });
    } or BAIL_OUT($@ . $nginx->error_log =~ s/^.*\[info\].*\n//mgr);

    return $old;
}

sub gone {
    my ($pid) = @_;

    $lab->wait_for(30, "the end of $pid", sub { $lab->ended($pid) });
}

sub under_load {
    my ($name, $what, %opt) = @_;

    return if $quick && $opt{full};

    $load->start;
    sleep 0.5;
    $what->();
    sleep $opt{seconds} // 1;

    my $sums = $load->stop;
    my $all = $sums->{all};

    $total{$_} += $all->{$_} for keys %total;

    cmp_ok($all->{lost}, '<=', $opt{lost} // 0, "$name: nothing is lost")
        or diag($nginx->error_log =~ s/^.*\[info\].*\n//mgr);
    cmp_ok($sums->{$_}{good} + $sums->{$_}{lost}, '>', 0, "$name: $_")
        for grep { $_ ne 'all' } sort keys %$sums;
    note("$name: " . Tailnet::Load::line($all));
}


under_load('reload', sub { reload() for 1 .. 3 });

under_load('a configuration that is wrong', sub {
    $nginx->write('conf/nginx.conf', $nginx->config . "colour red;\n");
    kill 'HUP', $nginx->master;
    $nginx->wait_error_log(5, qr/unknown directive "colour"/);
}, full => 1);

under_load('a configuration that cannot be', sub {
    configure(http => 'server { listen 192.0.2.1:8009; }');
    kill 'HUP', $nginx->master;
    $nginx->wait_error_log(10, qr{bind\(\) to 192\.0\.2\.1});
}, full => 1);

under_load('more and fewer workers', sub {
    for my $count (4, 1, 3, 2) {
        configure(workers => $count);
        reload($count);
    }
}, full => 1);

# Lines of the core go elsewhere and come back; its nodes are not begun anew.

my $begun = () = $nginx->errors(qr/this node is/);

under_load('another level of the log', sub {
    configure(main => 'error_log logs/more.log debug;');
    reload();
    sleep 0.5;
    configure();
    reload();
});

is(scalar(() = $nginx->errors(qr/this node is/)), $begun, 'the same node');
unlike($lab->read_file($nginx->prefix . '/logs/more.log'), qr/this node is/,
       'at that level too');

my $page_of = 'server { listen 80 tailnet=%s; return 200 "%s\n"; }';

under_load('a node comes, changes its name, and goes', sub {
    configure(main => $other, http => sprintf $page_of, ('other') x 2);
    reload();
    $peer->wait_peer('other', 20);
    is($peer->wait_get('http://other/', seconds => 20)->{body}, "other\n",
       'it serves');

    configure(main => $renamed, http => sprintf $page_of, ('another') x 2);
    reload();

    ok(eval { $lab->wait_for(20, 'the new name', sub {
        $peer->get('http://other/', timeout => 2)->{body} eq "another\n"
    }) }, 'it serves by its new name here, with the state it had')
        or diag($nginx->error_log);

    configure();
    reload();
}, full => 1);

under_load('upgrade', sub {
    my $old = upgrade();

    kill 'QUIT', $old;
    gone($old);
});

under_load('a reload after it', sub { reload() });

under_load('an upgrade called off', sub {
    my $old = upgrade();
    my $new = $nginx->master;

    # the old one's workers rest, and are called again
    kill 'WINCH', $old;
    $lab->wait_for(15, 'rest', sub { !$nginx->workers($old) });
    kill 'HUP', $old;
    $lab->wait_for(15, 'their return', sub { $nginx->workers($old) });
    kill 'QUIT', $new;
    gone($new);
    $lab->wait_for(5, 'its pid file', sub { $nginx->master == $old });
}, full => 1);

# What was under way in it: one answer of each client at most.

under_load('kill -9 of a worker', sub {
    my ($worker) = $nginx->workers($nginx->master);

    kill 'KILL', $worker;
    $lab->wait_for(5, 'another', sub {
        2 == grep { $_ != $worker } $nginx->workers($nginx->master)
    });
}, lost => 9);

for my $name (qw(core super guard), $lwip ? () : 'netns') {
    under_load("kill -9 of $name", sub {
        my ($pid) = $web->processes("tailnet-$name");

        kill 'KILL', $pid;
        ok(eval { $lab->wait_for(10, 'another', sub {
            grep { $_ != $pid } $web->processes("tailnet-$name")
        }) }, "$name: another one is there");
        sleep 0.5;
    }, $lwip && $name eq 'core' ? (lost => 9, full => 1) : ());
}

under_load('reload after all that', sub { reload() });

# Workers without a master go on.

under_load('kill -9 of the master', sub {
    my $pid = $nginx->master;
    my @workers = $nginx->workers($pid);

    kill 'KILL', $pid;
    gone($pid);
    sleep 1;
});

my @orphans = grep {
    $lab->read_file("/proc/$_/cmdline") =~ /worker process/ } $web->pids;

is(@orphans, 2, 'workers without a master');
kill 'QUIT', @orphans;
gone($_) for @orphans;
$lab->wait_for(10, 'the end of the helpers', sub {
    !grep { $web->processes("tailnet-$_") } qw(core super netns guard)
});
pass('they end, and nothing is left behind');

note("total: $total{good} answers, " . int($total{bytes} / 1e6)
     . " MB, $total{lost} lost");

my @alarming = grep { !/(?:exited|ended) on signal 9/
                      && !/was killed, this is another/
                      && !/unknown directive "colour"/
                      && !/bind\(\) to 192\.0\.2\.1/
                      && !/getsockname\(\) of the inherited/
                    } $nginx->errors(qr/\[(?:alert|emerg|crit)\]/);
is(join("\n", @alarming), '', 'nothing alarming in the log');

done_testing();
