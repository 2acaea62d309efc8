#!/usr/bin/perl

# What control changes under a running node, by tailscale's testcontrol, with
# two real tailscaleds: the node's name, a peer without a signature, a rule
# whose source is a capability, what control has to say, and how fast a change
# of one peer is seen by all workers.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $WORKERS = 4;
my $CHANGES = 20;

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(testcontrol => 1);
my ($peer, $web, $control) = @{$tailnet}{qw(peer web control)};
my $other = $lab->tailscaled(host => $lab->host('other'));
my $nginx = $lab->nginx(host => $web, module => 1);
my ($yes, $no) = (JSON::PP::true(), JSON::PP::false());

$other->up(control => $control);

$nginx->configure(
    main => "worker_processes $WORKERS;\n"
            . $nginx->tailnet_block($control, $tailnet->{auth_key}),
    http => <<'HTTP');
    keepalive_requests 10000000;
    server {
        listen 80 tailnet=home;
        location = /name { return 200 "$tailnet_name $tailnet_fqdn"; }
        location = /tags { return 200 "$pid $tailnet_tags."; }
        location / { return 200 "page\n"; }
    }
    server {
        listen 8000;
        location / { tailnet_status; }
    }
HTTP
$nginx->start;
$_->wait_peer('web', 20) for $peer, $other;

my ($web4) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
my %from = (peer => $peer, other => $other);
my %node = map { $_ => $control->node($_) } qw(peer other web);

sub gets {
    my ($name) = @_;
    my $r = $from{$name}->get("http://$web4/", timeout => 2);
    return $r->{ok} && $r->{status} == 200;
}

# Who gets a page, until it is these.

sub reach {
    my ($want, $name) = @_;
    my $seen;

    eval { $lab->wait_for(30, $name, sub {
        $seen = join ' ', grep { gets($_) } sort keys %from;
        return $seen eq $want;
    }) };
    is($seen, $want, $name) or diag($nginx->error_log);
}

sub map_of_web { $control->call(POST => "/raw-map?node=$node{web}{Key}", @_) }

reach('other peer', 'all peers reach nginx');


# --- another name than the configured one

unlike($nginx->error_log, qr/control calls this node/,
       'no warning while the name is the one of the configuration');
$control->call(POST => "/node?node=$node{web}{Key}",
               { Name => 'front.lab.test.' });

ok(eval { $nginx->wait_error_log(15,
    qr/\[warn\].* control calls this node "front", not "web" as configured/)
}, 'another name is warned of') or diag($nginx->error_log);
like($nginx->error_log, qr/this node is front\.lab\.test\. /, 'and reported');
is($peer->wait_get("http://$web4/name")->{body}, 'front front.lab.test',
   'and used');
is($peer->wait_get('http://front.lab.test/', seconds => 20)->{status}, 200,
   'peers know it');
is(scalar($nginx->errors(qr/control calls this node/)), 1, 'one warning');


# --- a peer without a signature

# Control leaves it out of its packet filter, which has to be seen to. A filter
# that lets it in is not to be believed at all (upstream: UnsignedPeerAPIOnly).

$control->call(POST => "/unsigned?node=$node{peer}{Key}&on=1");
reach('other', 'a peer without a signature is refused');

# Only raw messages from here on.

my @everywhere = ({ IP => '*', Ports => { First => 0, Last => 65535 } });
my %ip4 = map { $_ => $from{$_}->ip4 } keys %from;

map_of_web({ PacketFilter => [
    { SrcIPs => ['*'], DstPorts => \@everywhere }] });
reach('', 'a filter that lets it in lets in nobody');
is(scalar($nginx->errors(qr/lets in a peer without a signature, peer\.lab/)),
   1, 'which is said once');

map_of_web({ PacketFilter => [
    { SrcIPs => [$ip4{other}], DstPorts => \@everywhere }] });
reach('other', 'a filter that leaves it out counts');

my %signed = %{$control->node('peer')};

delete $signed{UnsignedPeerAPIOnly};
map_of_web({ PeersChanged => [\%signed] });
reach('other', 'signed, it is refused still');
map_of_web({ PacketFilter => [
    { SrcIPs => ["$ip4{other}-$ip4{other}", "$ip4{peer}/32"],
      DstPorts => \@everywhere }] });
reach('other peer', 'and let in by a rule that names it');


# --- a capability as the source of a rule

my $cap = 'example.com/cap/door';
my $id = sub { $control->node($_[0])->{ID} };

map_of_web({ PacketFilter => [
    { SrcIPs => ["cap:$cap"], DstPorts => \@everywhere }] });
reach('', 'cap: nobody has it');
map_of_web({ PeersChangedPatch => [
    { NodeID => $id->('other'), CapMap => { $cap => undef } }] });
reach('other', 'cap: who has it is let in');
map_of_web({ PeersChangedPatch => [
    { NodeID => $id->('peer'), CapMap => { $cap => [{ floor => 1 }] } },
    { NodeID => $id->('other'), CapMap => { "$cap/2" => undef } }] });
reach('peer', 'cap: it goes to the other peer');
map_of_web({ PacketFilters => { base => undef,
    more => [{ SrcIPs => ["cap:$cap", "cap:$cap/2"],
               DstPorts => \@everywhere }] } });
reach('other peer', 'cap: named filters, two capabilities');


# --- what control has to say

my $status = sub {
    return JSON::PP::decode_json($tailnet->{infra}->get(
        'http://' . $web->ip4 . ':8000/?format=json')->{body});
};
my $messages = sub {
    my ($shown) = @{$status->()->{nodes} // [$status->()]};
    return join '|', @{$shown->{messages} // []};
};

for my $again (1 .. 3) {
    map_of_web({ Health => ['the moon is full'] });
    map_of_web({ DisplayMessages => {
        tide => { Title => 'High tide', Severity => 'high',
                  Text => 'Bring the boats in.' } } });
}

ok(eval { $lab->wait_for(15, 'a message', sub {
    $messages->() =~ /boats in/
}) }, 'a display message is on the status page') or diag($messages->());
is(scalar($nginx->errors(qr/Bring the boats in/)), 1, 'and logged once');
is(scalar($nginx->errors(qr/the moon is full/)), 1,
   'so is a health line');

map_of_web({ DisplayMessages => { tide => undef } });
ok(eval { $lab->wait_for(15, 'none', sub {
    $messages->() !~ /boats in/
}) }, 'and gone when control takes it back') or diag($messages->());


# --- another UDP port, when control wants a random one

my $ports = sub {
    my %seen = map { $_->{address} =~ /:(\d+)\z/ ? ($1 => 1) : () }
        @{$status->()->{nodes}[0]{netcheck}{endpoints} // []};
    return join ' ', sort keys %seen;
};
my $left = $ports->();

map_of_web({ Node => { %{$control->node('web')},
                       CapMap => { 'randomize-client-port' => undef } } });
ok(eval { $lab->wait_for(20, 'other ports', sub {
    my $now = $ports->();
    return $now ne '' && $now ne $left;
}) }, 'the node leaves its UDP port') or diag($ports->());
reach('other peer', 'and is reached at another one');


# --- how fast

# One connection to each worker, asked in turn without a pause; a line for
# each answer that is another than the one before. A worker that has its
# connection stands still until the others have theirs.

my $asker = $lab->write_file($lab->path('asker.pl'), <<'PERL');
use strict;
use IO::Handle;
use IO::Select;
use Socket;
use Time::HiRes qw(time);
my ($ip, $file, $want) = @ARGV;
my (%by, %last, $tries);
open my $f, '>>', $file or die;
$f->autoflush;
sub ask {
    my ($s) = @_;
    syswrite $s, "GET /tags HTTP/1.1\r\nHost: web\r\n\r\n";
    my $text = '';
    while (1) {
        return ($1, $2) if $text =~ /\r\n\r\n(\d+) (.*)\.$/;
        IO::Select->new($s)->can_read(keys %by < $want ? 1 : 20) or return;
        sysread $s, $text, 4096, length $text or exit 1;
    }
}
while (keys %by < $want && $tries++ < 50) {
    socket my $s, PF_INET, SOCK_STREAM, 0 or die;
    connect $s, sockaddr_in(80, inet_aton($ip)) or next;
    my ($pid) = ask($s);
    next if !$pid || $by{$pid};
    $by{$pid} = $s;
    kill 'STOP', $pid;
    for (1 .. 100) {
        open my $stat, '<', "/proc/$pid/stat" or last;
        last if <$stat> =~ /\) T /;
        select undef, undef, undef, 0.01;
    }
}
kill 'CONT', keys %by;
print $f "workers " . keys(%by) . "\n";
while (1) {
    for my $pid (sort keys %by) {
        my ($who, $tags) = ask($by{$pid});
        next if ($last{$pid} // '') eq $tags;
        $last{$pid} = $tags;
        printf $f "%.6f %s %s\n", time, $who, $tags;
    }
}
PERL

my $file = $lab->path('asked');
my $process = $peer->host->start('asker', ['perl', $asker, $web4, $file,
                                           $WORKERS]);

ok(eval { $lab->wait_for(60, 'connections', sub {
    $lab->read_file($file) =~ /^workers $WORKERS$/m
}) }, 'a connection to each worker') or diag($lab->read_file($file));

my (@whole, @spread);

for my $change (1 .. $CHANGES) {
    my $tag = "tag:n$change";
    my $begin = time;

    map_of_web({ PeersChanged => [{ %signed, Tags => [$tag] }] });

    my %at;

    eval { $lab->wait_for(20, $tag, sub {
        %at = map { /^(\S+) (\d+) \Q$tag\E$/ ? ($2 => $1) : () }
            split /\n/, $lab->read_file($file);
        return keys %at == $WORKERS;
    }) } or last;

    my @at = sort { $a <=> $b } values %at;

    push @whole, 1000 * ($at[-1] - $begin);
    push @spread, 1000 * ($at[-1] - $at[0]);
}

$process->signal('TERM');
$process->reap(5);

is(scalar @whole, $CHANGES, 'each change is seen by each worker')
    or diag($lab->read_file($file));

@whole = sort { $a <=> $b } @whole, 1e9;
@spread = sort { $a <=> $b } @spread, 1e9;
note(sprintf 'from what control was asked to send to the last worker\'s '
     . 'answer: %.1f ms at best, %.1f median; between the first and the last '
     . 'worker %.1f and %.1f', $whole[0], $whole[@whole / 2], $spread[0],
     $spread[@spread / 2]);

# a busy machine makes the median anything
cmp_ok($whole[0], '<', 150, 'the fastest change: control to answer');
cmp_ok($spread[0], '<', 50, 'and from worker to worker');


is($nginx->quit, 0, 'nginx quits');
is_deeply([$nginx->errors(qr/\[(?:alert|emerg)\]/)], [], 'no alerts');

done_testing();
