package Bench::Client;

# Who puts the load on the servers: the real tailscaled of the lab's peer, or a
# node of ours, that is nginx with the module on a host of its own, in the
# network namespace of whose node the load generators run.

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP ();

use Bench::Usage;
use Tailnet::Lab;


# peer($lab, $tailnet): the real one, which is up

sub peer {
    my ($class, $lab, $tailnet) = @_;
    my $peer = $tailnet->{peer};

    return bless { lab => $lab, peer => $peer, host => $peer->host }, $class;
}


# own($lab, $tailnet, $name, $root): begins to start one, which serves the
# files of that directory on the tailnet; ready() waits for it.

sub own {
    my ($class, $lab, $tailnet, $name, $root) = @_;
    my $host = $lab->host($name);
    my $nginx = $lab->nginx(host => $host, module => 1, level => 'notice');

    $nginx->configure(main => $nginx->tailnet_block($tailnet->{control},
        $tailnet->{auth_key}, hostname => $name, extra => 'stack kernel;'),
        http => <<"HTTP");
    sendfile        on;
    tcp_nopush      on;
    open_file_cache max=16;
    access_log      off;

    server {
        listen 80 tailnet=home;
        root   $root;
    }
HTTP
    $nginx->start;

    return bless { lab => $lab, peer => $tailnet->{peer}, host => $host,
                   nginx => $nginx, name => $name }, $class;
}


sub ready {
    my ($self) = @_;

    return if !$self->{nginx} || $self->{holder};

    my $peer = $self->{peer}->wait_peer($self->{name}, 30);

    $self->{address} = (grep { !/:/ } @{$peer->{TailscaleIPs}})[0];

    my $r = $self->{peer}->wait_get("http://$self->{address}/1k",
                                    seconds => 30);

    croak "no page from our client $self->{name}: $r->{error}" unless $r->{ok};

    my ($holder) = grep { Bench::Usage::name_of($_) eq 'tailnet-netns' }
        $self->pids;

    $self->{holder} = $holder
        // croak "our client $self->{name} has no namespace";
}


sub host { return $_[0]{host} }
sub name { return $_[0]{name} }
sub address { return $_[0]{address} }


# Processes of its web server, where it has one.

sub nginx_pids {
    my ($self) = @_;
    my $nginx = $self->{nginx} // return;

    return ($nginx->pid, $nginx->workers);
}


# The command line of a load generator against a server; what has no tunnel is
# asked from the host itself.

sub command {
    my ($self, $server, $name, @args) = @_;
    my @run = ($self->{lab}->build("t/bench/$name"), @args);

    return @run unless $self->{holder} && $server->tunnelled;
    return ('nsenter', "--net=/proc/$self->{holder}/ns/net", @run);
}


# The processes of its side of the tunnel.

sub pids {
    my ($self) = @_;

    return $self->{peer}->process->pid unless $self->{nginx};
    return Bench::Usage::of_host($self->{host},
                                 Bench::Usage::ours($self->{lab}));
}


# The path that it has to a server after some seconds at most: "direct",
# "derp"; for the real one it is the server that knows.

sub path {
    my ($self, $server, $seconds, $wanted) = @_;

    return $server->path($seconds, $wanted) unless $self->{nginx};

    my $kind = 'none';

    eval {
        $self->{lab}->wait_for($seconds, 'a path', sub {
            my (undef, $out) = Tailnet::Lab::capture(
                $self->{lab}->path('modules', 'ngx_tailnet_core'), 'ping',
                '--json', '--run',
                $self->{nginx}->run_dir,
                $server->address);
            my $node = (eval { JSON::PP->new->decode($out) } // {})->{nodes}[0];

            $kind = $node->{pong}{kind} // 'none';

            return $kind =~ $wanted;
        });
    };

    return $kind;
}


1;
