#!/usr/bin/perl

# Configurations at random, of our directives and parameters with nginx's
# around them, some with something odd in them: "nginx -t" accepts each or
# refuses it with one line that names the place, says the same when it is asked
# again, and shows no secret. CONFIG_SEED is the first one's number (1),
# CONFIG_COUNT how many there are (200); one that fails is kept to look at.

use strict;
use warnings;

use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Solo;

my $solo = Tailnet::Solo->new(env => { KEY => 'secret-of-env' });

plan skip_all => 'the module is not built' unless -e $solo->module;

my $first = $ENV{CONFIG_SEED} // 1;
my $count = $ENV{CONFIG_COUNT} // 200;

my $paths = Tailnet::Solo::http_paths();

$solo->write('conf/good.key', "secret-of-file\n");


# --- the grammar

# Of each directive of a block the arguments to choose from.

my @flag = qw(on off);

my %node = (
    accept_routes       => \@flag,
    acme_directory      => ['staging', 'https://acme.test/dir'],
    advertise_routes    => ['10.1.0.0/16', '10.2.0.0/16 fd01::/64'],
    auth_key            => ['tskey-auth-secret', 'env:KEY', 'env:NONE',
                            'file:good.key', 'jwt-is-secret client_id=k1'],
    control_url         => ['https://hs.test', 'http://[::1]:80/'],
    ephemeral           => \@flag,
    exit_node           => ['gw', '100.64.0.9', 'fd7a:115c:a1e0::9'],
    funnel_domains      => ['www.test.example', 'a.test B.test'],
    hostname            => ['web', 'a' x 63],
    peer_relay_port     => [7777],
    port                => [0, 41641],
    port_mapping        => \@flag,
    proxy               => ['http://u:secret@proxy.test:3128'],
    shields_up          => \@flag,
    stack               => [qw(auto kernel)],
    static_endpoints    => ['192.0.2.1:1', '192.0.2.1:1 [2001:db8::1]:2'],
    tags                => ['tag:a', 'tag:a tag:' . 'b' x 63],
);

my @rules = qw(all funnel user:a@b.c user:*@b.c user:~^ops- tag:web tag:~*W
               node:a node:* cap:example.com/x);

# What may stand anywhere or behind anything, and is seldom right there.

my @odd = ((split ' ', q({ } ; $ $none ${host} -1 0 * ** / ~[ [ [:: = : .
                         - 99999999999999999999 %s%n tailnet tailnet=
                         tailnet=none file: env: file:/dev/null on all any)),
           "''", "'a b'", "\x01", "\xff", "\xc3\xa9", "a\\\nb", '# ',
           'x' x 300, 'x' x 5000);

my ($odd, @nodes, $port, $upstreams);

sub one { return $_[rand @_] }
sub sometimes { return rand() < $_[0] }
sub some { my ($max, $of) = @_; return map { $of->() } 1 .. rand($max + 1) }

sub directive {
    my ($name, @words) = @_;

    @words = map { sometimes($odd) ? one('', $_) . one(@odd) : $_ } @words;

    push @words, one(@odd) if sometimes($odd / 4);
    pop @words if sometimes($odd / 4);

    my $text = join(' ', $name, @words) . ";\n";

    return sometimes($odd / 4) ? "$text $text" : $text;
}

sub block {
    my ($name, @inside) = @_;
    return "$name {\n@inside}\n";
}

sub tailnet {
    my %seen;
    my @names = grep { !$seen{$_}++ } some(8, sub { one(sort keys %node) });

    # A listener with "capture" needs something to capture.

    return block("tailnet $_[0]", directive('advertise_exit_node', 'on'),
                 map { directive($_, one(@{$node{$_}})) } @names);
}

sub parameter { return 'tailnet=' . one(@nodes) }

sub listen_on {
    my ($stream) = @_;
    my $at = sometimes(0.1) ? $port . '-' . ($port + 3)
        : one('', '*:', '0.0.0.0:', '[::]:') . $port;

    $port += 10;

    return directive('listen', $at, parameter(), some(1, sub {
        one('funnel', 'funnel=only', 'reuseport', 'backlog=9', 'rcvbuf=64k',
            'capture', 'capture=probe', 'service=svc:web',
            $stream ? 'udp' : 'default_server') }));
}

sub upstream {
    my ($stream) = @_;

    return block('upstream u' . ++$upstreams,
        some(1, sub { directive('zone', "u$upstreams", '1m') }),
        some(1, sub { directive(one('least_conn', 'random', 'hash $host',
                                    'hash $host consistent')
                                =~ s/host/$stream ? 'remote_addr' : 'host'/er)
        }),
        map { directive('server', one(qw(web 100.64.0.1 [fd7a:115c:a1e0::1]
                                         tag:web svc:db a.x.ts.net)) . ':80',
                        parameter(), some(2, sub {
                            one(qw(weight=2 down max_fails=3 max_conns=9)) }))
        } 0 .. rand 3);
}

sub access {
    return map { directive(one(qw(tailnet_allow tailnet_deny)),
                           map { one(@rules) } 0 .. rand 3) } 1 .. rand 3;
}

sub location {
    return block('location /' . ++$port, access(), one(
        directive('tailnet_status'), directive('return', 200, '$tailnet_peer'),
        block('limit_except GET', access()),
        $upstreams ? directive('proxy_pass', "http://u$upstreams") : ''));
}

sub server {
    my ($stream) = @_;

    return block('server', listen_on($stream),
        some(2, sub { listen_on($stream) }), access(),
        $stream ? directive('return', '$tailnet_user_login')
                : (some(2, \&location), some(1, sub {
                    directive('tailnet_headers', one(@flag)) })),
        some(1, sub { directive('tailnet_certificate_fallback',
                                one(qw(off self_signed))) }));
}

sub configuration {
    my ($seed) = @_;

    srand($seed);

    $odd = one(0, 0.01, 0.1);
    @nodes = (qw(home default a-1), 'x' x 63)[0 .. rand 4];
    ($port, $upstreams) = (1000, 0);

    # Of stream only where it is: elsewhere it is an object of its own.

    return join '', "events { }\n", (map { tailnet($_) } @nodes),
        block('http', "$paths\n",
              some(1, sub { directive('tailnet_capability', '$c', 'a/b') }),
              access(), some(2, \&upstream), some(3, \&server)),
        $solo->{static} && sometimes(0.5)
            ? block('stream', some(2, sub { upstream(1) }), server(1)) : ();
}


# --- the runs

my ($accepted, %wrong) = (0);

sub test {
    my ($status, $out) = $solo->run('-t');

    return ($status, $out =~ s/ \d+#\d+:/ /gr);
}

for my $seed ($first .. $first + $count - 1) {
    $solo->configure(configuration($seed));

    my ($status, $out) = test();
    my @emerg = $out =~ /^nginx: \[emerg\] .*?(?=^nginx: |\z)/msg;
    my $refused = $status == 1 && @emerg == 1
        && $emerg[0] =~ /in \Q$solo->{dir}\E\/conf\/nginx\.conf:\d+\n\z/;
    my $good = $status == 0 && !@emerg;
    my @bad = ('neither accepted nor refused') x !($good || $refused);

    $accepted += $good;
    push @bad, 'a secret is shown' if $out =~ /secret/;
    push @bad, 'another result' if join(' ', test()) ne "$status $out";

    for my $what (@bad) {
        copy($solo->dir . '/conf/nginx.conf', "/tmp/config_random.$seed");
        diag("$what: /tmp/config_random.$seed\n$out");
        push @{$wrong{$what}}, $seed;
    }
}

for my $what ('neither accepted nor refused', 'a secret is shown',
              'another result') {
    is(join(' ', @{$wrong{$what} // []}), '', "$what: none of $count");
}

if ($count >= 100) {
    cmp_ok($accepted, '>', $count / 5, 'many are accepted');
    cmp_ok($accepted, '<', $count * 4 / 5, 'many are refused');
}

unlike($solo->error_log, qr/secret/, 'no secret in the log');

done_testing();
