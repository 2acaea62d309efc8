#!/usr/bin/perl

# Two of our own nodes, each behind a port-preserving NAT of its own, and both
# behind one: direct within seconds of the first traffic between them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $SECONDS = 3;


# hairpin: behind one router, which leads them to each other by its own
# address while their own ones are kept apart, as some access points do

sub pair {
    my ($hairpin) = @_;
    my $lab = Tailnet::Lab->new;
    my $infra = $lab->host('infra');
    my $derper = $lab->derper(host => $infra);
    my $control = $lab->headscale(host => $infra, derp => [$derper],
                                  version => 28);
    my $auth_key = $control->auth_key;
    my %node;

    my $same = $hairpin
        && $lab->router('r-same', kind => 'cone', hairpin => 1);

    for my $name (qw(one two)) {
        my $router = $same || $lab->router("r-$name", kind => 'easy');
        my $host = $lab->host($name, behind => $router);
        my $other = $name eq 'one' ? 'two' : 'one';
        my $nginx = $lab->nginx(host => $host, module => 1, name => $name);

        $nginx->configure(
            main => $nginx->tailnet_block($control, $auth_key,
                                          hostname => $name),
            http => <<"HTTP");
        upstream other { server $other:80 tailnet=home; }
        server { listen 80 tailnet=home; }
        server {
            listen 8000;
            location / {
                proxy_pass http://other;
                proxy_connect_timeout 3s;
            }
        }
HTTP
        $nginx->write('html/index.html', "page of $name\n");
        $node{$name} = { host => $host, nginx => $nginx };
    }

    my ($host, $nginx) = @{$node{one}}{qw(host nginx)};

    if ($hairpin) {
        for my $pair ([qw(one two)], [qw(two one)]) {
            my ($here, $there) = map { $node{$_}{host} } @$pair;

            $here->nft('table inet apart { chain in { '
                       . 'type filter hook input priority 0; ip saddr '
                       . $there->ip4 . ' drop; }; }');
        }
    }

    $_->{nginx}->start for @node{qw(one two)};

    my $got = $host->wait_get('http://127.0.0.1:8000/', seconds => 30);

    is($got->{body}, "page of two\n", 'HTTP works');

    my $direct = eval {
        $lab->wait_for(20, 'a direct path', sub {
            $host->get('http://127.0.0.1:8000/', timeout => 3);
            $nginx->error_log =~ /peer \S+ is direct at (\S+),/ && $1;
        });
    };

    my $outside = $same ? $same->ip4 : $lab->{hosts}[-2]->ip4;

    ok($direct, 'and becomes direct') or diag($nginx->error_log);
    like($direct // '', qr/^\Q$outside\E:/, 'to what its router made of it');

    # the best of some: a busy machine may hold one up

    my ($quick) = sort { $a->{time} <=> $b->{time} } grep { $_->{ok} }
        map { $host->get('http://127.0.0.1:8000/', timeout => 3) } 1 .. 5;

    cmp_ok($quick->{time} // 1e9, '<', 0.5, 'and quick');

    # what the log says of the peer begins with the first traffic

    my ($first) = map { seconds($_) }
        grep { /path: peer \S+ is / } split /\n/, $nginx->error_log;
    my ($then) = map { seconds($_) }
        grep { /path: peer \S+ is direct/ } split /\n/, $nginx->error_log;

    ok(defined $then && $then - $first <= $SECONDS, "within $SECONDS s")
        or diag($nginx->error_log);
}


# of the day, of a line of nginx's log

sub seconds {
    my ($h, $m, $s) = $_[0] =~ m{^[\d/]+ (\d+):(\d+):(\d+) };
    return $h * 3600 + $m * 60 + $s;
}


subtest 'behind a NAT each' => sub { pair(0) };
subtest 'behind one that hairpins' => sub { pair(1) };

done_testing();
